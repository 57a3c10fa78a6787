"""Every kind of attachment, made for real and looked for: one file a family, one function a case.

What `attach` finds of each on which kernel is the table in docs/attachments.md.
"""
