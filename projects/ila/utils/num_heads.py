def find_num_heads(embed_dims: int, key: str, channels: int = 64) -> int:
    """Find the number of attention heads.

    Args:
        embed_dims (int): Channels of all heads.
        key (str): The config's key that sets ``embed_dims``.
        channels (int): Least number of channels per head.

    Raises:
        ValueError: The heads do not divide ``embed_dims``.
    """
    num_heads = max(embed_dims // channels, 1)
    if embed_dims % num_heads:
        raise ValueError(f'{embed_dims} channels cannot be divided among '
                         f'{num_heads} heads; set `{key}` to a multiple of '
                         f'{channels}')
    return num_heads
