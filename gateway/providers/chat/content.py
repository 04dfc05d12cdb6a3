"""Content blocks as parts of chat messages: nothing a client sent is lost without a trace.

What a chat server cannot take (a PDF, an image for a blind model, a reference) becomes a short text that says
what was there; encoded bytes never become text. Must not know the order of messages.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.messages.blocks import Block
from gateway.providers.chat.dialects import Dialect

__all__ = ["Part", "Result", "as_content", "parts_of", "result_of", "text_part"]

Part = dict[str, Any]


@dataclass(slots=True)
class Result:
    """A tool's result: `text` for the tool message, `parts` in its place where it may hold images, and
    `moved`: what must follow in a user message."""

    text: str
    parts: list[Part] = field(default_factory=list)
    moved: list[Part] = field(default_factory=list)


def text_part(text: str, **extra: Any) -> Part:
    return {"type": "text", "text": text, **extra}


def as_content(parts: Sequence[Part]) -> str | list[Part]:
    """One string where the parts are plain text, which every server takes; else the parts."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return list(parts)


def parts_of(blocks: Sequence[Block], dialect: Dialect) -> list[Part]:
    """The parts of a user turn, in order. Blank texts and unknown blocks without text are left out."""
    found: list[Part] = []
    for block in blocks:
        made = _part(block.data, dialect)
        if made is None:
            continue
        if dialect.cache_control and made["type"] == "text" and isinstance(block.get("cache_control"), dict):
            made["cache_control"] = {"type": "ephemeral"}
        found.append(made)
    return found


def _part(block: Mapping[str, Any], dialect: Dialect) -> Part | None:
    kind = block.get("type")
    if kind == "image":
        return _image(block.get("source"), dialect) or text_part(_no_image(block.get("source")))
    if kind == "document":
        file = _file(block, dialect)
        if file is not None:
            return file
    text = _text(block)
    return text_part(text) if text.strip() else None


def result_of(block: Block, call: str, dialect: Dialect) -> Result:
    """The result of the call that the server knows as `call`."""
    content = block.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    texts: list[str] = []
    media: list[Part] = []
    for item in content if isinstance(content, list) else []:
        if not isinstance(item, dict):
            continue
        seen = _seen(item, dialect)
        if seen is not None:
            media.append(seen)
            texts.append(f"[{_kind(seen)} {len(media)} of this result {_where(dialect)}]")
        else:
            texts.append(
                _no_image(item.get("source")) if item.get("type") == "image" else _text(item) or _unknown(item)
            )
    text = "\n".join(part for part in texts if part.strip())
    if block.get("is_error") is True and not text.startswith("Error"):
        text = f"Error: {text}" if text else "Error: the tool failed."
    result = Result(text or dialect.empty_result)
    if not media:
        return result
    if dialect.images_in_results and all(part["type"] == "image_url" for part in media):
        result.parts = [text_part(result.text), *media]
        return result
    for number, part in enumerate(media, 1):
        result.moved += [text_part(f"[{_kind(part)} {number} of the result of tool call {call}:]"), part]
    return result


def _seen(item: Mapping[str, Any], dialect: Dialect) -> Part | None:
    if item.get("type") == "image":
        return _image(item.get("source"), dialect)
    return _file(item, dialect) if item.get("type") == "document" else None


def _kind(part: Part) -> str:
    return "Image" if part["type"] == "image_url" else "File"


def _where(dialect: Dialect) -> str:
    return "is attached" if dialect.images_in_results else "follows in the next user message"


def _image(source: object, dialect: Dialect) -> Part | None:
    if not isinstance(source, dict) or dialect.images == "none":
        return None
    url: object = None
    if source.get("type") == "base64" and isinstance(source.get("data"), str):
        url = f"data:{source.get('media_type', 'image/png')};base64,{source['data']}"
    elif source.get("type") == "url" and dialect.images == "url":
        url = source.get("url")
    return {"type": "image_url", "image_url": {"url": url}} if isinstance(url, str) and url else None


def _no_image(source: object) -> str:
    at = source.get("url") if isinstance(source, dict) else None
    return f"[An image stood here that this model cannot be shown{_at(at)}.]"


def _unknown(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return (
        ""
        if kind == "text" or not isinstance(kind, str)
        else f"[A {kind[:64]} stood here that this model cannot read.]"
    )


def _at(url: object) -> str:
    return f": {url}" if isinstance(url, str) and not url.startswith("data:") else ""


def _file(block: Mapping[str, Any], dialect: Dialect) -> Part | None:
    source = block.get("source")
    if not dialect.documents or not isinstance(source, dict) or source.get("type") != "base64":
        return None
    data, media_type = source.get("data"), source.get("media_type", "application/pdf")
    if not isinstance(data, str) or not data or media_type != "application/pdf":
        return None
    title = block.get("title")
    name = title if isinstance(title, str) and title else "document.pdf"
    name = name if name.lower().endswith(".pdf") else f"{name}.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{media_type};base64,{data}"}}


def _text(block: Mapping[str, Any]) -> str:
    """What a block says in words; "" for nothing."""
    match block.get("type"):
        case "document":
            return _document(block)
        case "search_result":
            return _tagged("search_result", block, ("source", "title"), _inner_text(block.get("content")))
        case "tool_reference":
            return f"[The tool {block.get('tool_name') or block.get('name')} is now available.]"
        case "container_upload":
            return f"[A file was uploaded: {block.get('file_id')}]"
    text = block.get("text")
    return text if isinstance(text, str) else ""


def _document(block: Mapping[str, Any]) -> str:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    match source.get("type"):
        case "text":
            body = source.get("data")
        case "content":
            body = _inner_text(source.get("content"))
        case "url":
            body = f"[The document is at {source.get('url')}; this model cannot open it.]"
        case "file":
            body = "[An uploaded document that this model cannot open.]"
        case _:
            data = source.get("data")
            size = f", {len(data) * 3 // 4} bytes" if isinstance(data, str) else ""
            body = f"[A document of type {source.get('media_type', 'unknown')}{size} that this model cannot read.]"
    return _tagged("document", block, ("title", "context"), body if isinstance(body, str) else "")


def _tagged(tag: str, block: Mapping[str, Any], names: Sequence[str], body: str) -> str:
    said = "".join(
        f' {name}="{html.escape(value)}"' for name in names if isinstance(value := block.get(name), str) and value
    )
    return f"<{tag}{said}>\n{body}\n</{tag}>"


def _inner_text(content: object) -> str:
    if isinstance(content, str):
        return content
    items = content if isinstance(content, list) else []
    found = (_no_image(item.get("source")) if item.get("type") == "image" else _text(item) for item in _dicts(items))
    return "\n".join(text for text in found if text.strip())


def _dicts(items: Sequence[object]) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict))
