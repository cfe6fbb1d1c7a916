"""A file to begin with: each line is what somebody may want, and none counts."""

EXAMPLE = """\
# Options that count where none are typed. A key is an option without its dashes; a flag is true or false.
# What is typed counts before the environment (SWARM_PEERS, SWARM_LEDGER, SWARM_SECRET), that before this file.
# `swarm config` shows what counts, and who says so.

[all]  # verbs that have them
# model = "demo"
# peers = ["/ip4/203.0.113.7/tcp/4001/p2p/PEER_ID"]
# secret-file = "~/swarm.secret"
# ledger = "ledger.example.org:4100/FINGERPRINT"

[server]
# quant = "int4"
# host = "0.0.0.0"
# announce = "203.0.113.7"
# memory = "8G"
# threads = 4

[client]  # generate, chat and batch
# quant = "int4"
# verify = "receipts"
# max-new-tokens = 256

[chat]
# temperature = 0.7
# top-p = 0.9

[ledger.serve]
# backup = "/var/backups/ledger.db"
"""
