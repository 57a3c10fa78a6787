"""What a BPF kernel must do, as plain functions: one file a subject, one sentence a check.

Linux 6.18 is the judge: what a check says was seen there. Where another kernel differs, the
table in `differences` says so and why.
"""
