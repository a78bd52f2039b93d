import numpy as np


def mix_seed(*numbers: int) -> int:
    """Make one seed of several numbers, none of them negative.

    Returns:
        int: In [0, 2**32). Other numbers, or the same in another order, give
        an unrelated one.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
