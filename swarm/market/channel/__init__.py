"""Payment channels: vouchers for what was got, and both sides' books of them."""
