"""What options can be, in words. The modules that they belong to take seconds to import, and say the same: a test
compares them."""

BNB_FORMATS = ("bnb-nf4", "bnb-int8")
QUANTS = ("none", "int8", "int4", "int4-g64", "nf4", *BNB_FORMATS)  # of weights: swarm_kernels
DTYPES = ("float32", "bfloat16", "float16")  # that tensors travel in: swarm.wire.codec
SERVED_DTYPES = ("float32", "bfloat16")  # swarm.server.config
VERIFY = ("receipts", "audit", "full")  # swarm.generate.options
AUDITORS = ("peers", "local", "off")  # swarm.client.config
PEERS, LOCAL, _ = AUDITORS
SEGMENT = 256  # tokens: swarm.verify.audit.judgement
