"""Which upstream answers a request, and what happens when it does not.

Router, routes, retry and fallback, breakers, slots, the upstreams file. May import providers, messages and settings;
knows nothing of HTTP routes, keys, sandboxes or turns. `build_router` makes one of the configuration.
"""
