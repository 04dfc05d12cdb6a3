"""When an image is rebuilt, and that nothing enters one without entering its digest."""

import os
import re
from pathlib import Path

import pytest

from gateway.images.errors import ImageError
from gateway.images.recipes import (
    RECIPES,
    Input,
    Recipe,
    SourceTree,
    inputs_digest,
    machine_authorities,
    pack_context,
    read_inputs,
    source_tree,
)

RECIPE = Recipe(
    name="one", tag="bulkhead/one", context="images", dockerfile="one/Dockerfile", inputs=("shared", "tool"), about=""
)


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    for name, text in {"one/Dockerfile": "FROM x", "shared/packages": "git", "tool/a/b.py": "pass"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return SourceTree(images=tmp_path, checkout=None)


def _digest(tree: SourceTree, base: str = "sha256:base") -> str:
    return inputs_digest(read_inputs(RECIPE, tree), base)


@pytest.mark.parametrize("name", ["one/Dockerfile", "shared/packages", "tool/a/b.py"])
def test_changing_any_input_changes_the_digest(tree: SourceTree, name: str) -> None:
    before = _digest(tree)
    (tree.images / name).write_text("other")
    assert _digest(tree) != before


def test_a_new_file_a_new_name_and_a_new_mode_change_the_digest(tree: SourceTree) -> None:
    seen = {_digest(tree)}
    (tree.images / "tool/new").write_text("")
    seen.add(_digest(tree))
    (tree.images / "tool/new").rename(tree.images / "tool/newer")
    seen.add(_digest(tree))
    (tree.images / "tool/newer").chmod(0o755)
    seen.add(_digest(tree))
    assert len(seen) == 4


def test_another_base_image_changes_the_digest(tree: SourceTree) -> None:
    assert _digest(tree, "sha256:one") != _digest(tree, "sha256:two")


def test_times_caches_and_unrelated_files_do_not_change_the_digest(tree: SourceTree) -> None:
    before = _digest(tree)
    os.utime(tree.images / "shared/packages", (1, 1))
    (tree.images / "tool/__pycache__").mkdir()
    (tree.images / "tool/__pycache__/b.pyc").write_text("compiled")
    (tree.images / "unrelated").write_text("")
    assert _digest(tree) == before


def test_the_same_inputs_pack_to_the_same_bytes(tree: SourceTree) -> None:
    first = pack_context(read_inputs(RECIPE, tree))
    os.utime(tree.images / "shared/packages", (1, 1))
    assert pack_context(read_inputs(RECIPE, tree)) == first


def test_a_missing_input_is_named(tree: SourceTree) -> None:
    (tree.images / "shared/packages").unlink()
    (tree.images / "shared").rmdir()
    with pytest.raises(ImageError, match="shared is missing"):
        read_inputs(RECIPE, tree)


def test_the_gateway_image_is_refused_without_a_checkout(tree: SourceTree) -> None:
    with pytest.raises(ImageError, match="source checkout"):
        read_inputs(RECIPES["gateway"], tree)


def test_the_machines_authorities_join_the_context_by_name(tmp_path: Path) -> None:
    (tmp_path / "site.crt").write_text("PEM")
    (tmp_path / "notes.txt").write_text("")
    assert machine_authorities(tmp_path) == [Input("sandbox-images/gateway/ca/site.crt", False, b"PEM")]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_everything_a_dockerfile_copies_is_in_its_digest(recipe: Recipe) -> None:
    names = [item.name for item in read_inputs(recipe, source_tree())]
    dockerfile = next(
        item.content.decode() for item in read_inputs(recipe, source_tree()) if item.name == recipe.dockerfile
    )
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, flags=re.MULTILINE)
    assert copies
    for source in " ".join(copies).split():
        directory = source.rstrip("/") + "/"
        assert any(name == source or name.startswith(directory) for name in names), source


def test_the_sandbox_images_begin_word_for_word_alike_so_that_layers_are_shared() -> None:
    texts = {
        name: (source_tree().images / name / "Dockerfile").read_text().partition("ARG BASE_IMAGE")[2]
        for name in ("base", "python", "full")
    }
    base_start = texts["base"].partition("COPY base/seal")[0]
    python_start = texts["python"].partition("COPY base/seal")[0]
    assert texts["python"].startswith(base_start)
    assert texts["full"].startswith(python_start)
    ends = {text.partition("COPY base/seal")[2] for text in texts.values()}
    assert len(ends) == 1
