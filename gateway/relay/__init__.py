"""The hot path: a request that the gateway has nothing to do for goes through as bytes.

Decides from a glance at the body whether that is so, sends it on unparsed, and watches the answer pass: usage,
order, the end. Everything else it hands to the application behind it. May import everything below; must not
know tools, sandboxes or how a conversation is rebuilt.
"""
