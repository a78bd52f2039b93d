import torch
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.utils import QuickGELU

from projects.ila.models.images.quick_gelu import (LeanQuickGELU,
                                                   fold_quick_gelu)


def test_equals_the_librarys_with_its_gradient():
    x = torch.linspace(-20, 20, 999, dtype=torch.float64)
    outs, grads = [], []
    for layer in (LeanQuickGELU(), QuickGELU()):
        own = x.clone().requires_grad_()
        outs.append(layer(own))
        grads += torch.autograd.grad(outs[-1].square().sum(), own)
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*grads)


def test_keeps_one_tensor():
    kept = []
    x = torch.randn(8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.data_ptr()), lambda _: None):
        LeanQuickGELU()(x * 1)
    assert len(set(kept)) == 1


def test_folded_mlp_gives_the_same():
    torch.manual_seed(0)
    ffn = FFN(8, 32, act_cfg=dict(type='mmaction.LeanQuickGELU')).eval()
    x = torch.randn(5, 8)
    expected = ffn(x)
    fold_quick_gelu(ffn)
    torch.testing.assert_close(ffn(x), expected)
    assert isinstance(ffn.layers[0][1], torch.nn.SiLU)
