"""Signed beacon blocks in SSZ, full and blinded, read by offset: transactions are never parsed.

``containers`` describes the blocks of each fork; ``signed_block`` checks bytes against that and
returns the same block that the JSON decodes to.
"""
