"""BIG-MoE (ICASSP 2025), published and deployed form."""
