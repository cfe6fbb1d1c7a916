"""Names of the types in which activations travel, without torch, for command lines and configs."""

DTYPE_NAMES = ("float32", "bfloat16", "float16")
