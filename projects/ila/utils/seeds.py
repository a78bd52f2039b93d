import numpy as np


def mix_seed(*numbers: int) -> int:
    """Make one seed from several numbers, which must not be negative.

    Returns:
        int: In [0, 2**32). Other numbers, or another order of the same
        numbers, give an unrelated seed.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
