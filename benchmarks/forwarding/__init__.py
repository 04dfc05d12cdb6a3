"""What the rows about forwarded requests stand on: a lean upstream and client, a floor, and a peer.

The two ends cost so little that what is between them shows.
"""
