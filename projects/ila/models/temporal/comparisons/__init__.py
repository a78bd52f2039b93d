"""Other temporal modules, which ILA is compared with.

They are not registered, and nothing else imports them. Configs give their
full path, such as
``type='projects.ila.models.temporal.comparisons.TemporalShift'``.
"""
from .divided_attention import DividedAttention
from .message_token import MessageToken
from .neighbour_average import NeighbourAverage
from .temporal_shift import TemporalShift

__all__ = [
    'DividedAttention', 'MessageToken', 'NeighbourAverage', 'TemporalShift'
]
