"""Low-rank adaptation of an image model's attention."""
import math
from typing import List, Optional

from torch import Tensor, nn

from .image_model import ImageModel


class LoRALinear(nn.Linear):
    """Linear layer with a low-rank update of its weight.

    :func:`adapt` turns an ``nn.Linear`` into one. The weight keeps its name,
    so that weights without LoRA can be loaded. ``weight`` includes the
    update, since EVA's attention reads it instead of calling the layer.
    """
    lora_scale: float

    @property
    def weight(self) -> Tensor:
        return (self._parameters['weight'] +
                self.lora_scale * self.lora_up @ self.lora_down)

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              *args) -> None:
        for name in ('lora_up', 'lora_down'):  # Plain weights lack them.
            state_dict.setdefault(prefix + name, getattr(self, name).detach())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def merge(self) -> None:
        """Turn back into an ``nn.Linear`` with the same results, in place."""
        merged = self.weight.detach()
        del self.lora_up, self.lora_down
        self.__class__ = nn.Linear
        self.weight = nn.Parameter(merged, requires_grad=False)


def adapt(image: ImageModel,
          rank: int = 8,
          alpha: Optional[float] = None) -> None:
    """Freeze an image model, and adapt the attention of all its blocks.

    Args:
        image (ImageModel): Changed in place.
        rank (int): Rank of the update of each weight.
        alpha (float, optional): The update is scaled by ``alpha / rank``.
            Defaults to twice the rank.

    Raises:
        ValueError: ``rank`` is not a positive integer.
    """
    if type(rank) is not int or rank < 1:
        raise ValueError(f'rank must be a number from 1 on, got {rank}; fix '
                         '`model.backbone.lora.rank`')
    image.freeze(len(image.blocks) + 1)
    for block in image.blocks:
        for linear in block.attn.modules():
            if type(linear) is not nn.Linear:
                continue
            up = linear.weight.new_zeros(linear.out_features, rank)
            down = linear.weight.new_empty(rank, linear.in_features)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            linear.lora_up, linear.lora_down = map(nn.Parameter, (up, down))
            linear.lora_scale = 2. if alpha is None else alpha / rank
            linear.__class__ = LoRALinear


def find_adapted(image: ImageModel) -> List[LoRALinear]:
    return [
        module for module in image.modules() if isinstance(module, LoRALinear)
    ]
