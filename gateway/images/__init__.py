"""The images Bulkhead runs: what goes into each, whether it is still current, and how it is built.

An operator's tool, called by `bulkhead images` and `make setup`. It talks to the engine directly, so nothing that
serves requests may import it, but for `recipes`, which says where the files are. It knows the Dockerfiles' inputs,
and nothing of sessions or policy.
"""
