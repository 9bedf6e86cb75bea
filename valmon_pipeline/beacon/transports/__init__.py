"""What stands between a request and the node, one job per class, each an httpx transport.

From the outside in: archive, retry, rate limit, whole body, node address, httpx. Only the two
innermost ever see the node's real address, so no credential reaches an archive, a log or an error.
"""
