"""The turn loop: sample, decide, run, feed back; and how gateway-run calls look to the client.

Sits between the HTTP surface and the tools. Knows messages, providers, tools, sessions, policy and audit;
knows nothing of HTTP.
"""
