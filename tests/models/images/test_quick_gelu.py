import torch
from mmcv.cnn.bricks.transformer import FFN

from projects.ila.models.images.quick_gelu import ScaledLinear, use_quick_gelu


def make_ffns() -> tuple:
    torch.manual_seed(0)
    theirs = FFN(8, 32, act_cfg=dict(type='mmpretrain.QuickGELU')).double()
    own = FFN(8, 32, act_cfg=dict(type='SiLU')).double()
    own.load_state_dict(theirs.state_dict())
    use_quick_gelu(own)
    return own, theirs


def test_equals_the_librarys_with_its_gradients():
    outs, grads = [], []
    for ffn in make_ffns():
        x = torch.linspace(-20, 20, 400, dtype=torch.float64)
        x = x.view(50, 8).requires_grad_()
        outs.append(ffn(x))
        own = dict(ffn.named_parameters())
        grads.append(
            dict(
                zip(['x', *own],
                    torch.autograd.grad(outs[-1].square().sum(),
                                        [x, *own.values()]))))
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*grads)


def test_keeps_one_tensor_between_the_layers():
    ffn, theirs = make_ffns()
    x = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)

    def count_kept(module) -> int:
        kept = set()
        with torch.autograd.graph.saved_tensors_hooks(
                lambda tensor: kept.add((tensor.data_ptr(), tensor.shape)),
                lambda _: None):
            out = module(x)
        del out
        return len([shape for _, shape in kept if shape == (5, 32)])

    # What comes into SiLU, and what it gives to the next layer.
    assert count_kept(ffn) == 2
    assert count_kept(theirs) > 2


def test_folded_network_gives_the_same():
    ffn, _ = make_ffns()
    x = torch.randn(5, 8, dtype=torch.float64)
    expected = ffn(x)
    for module in ffn.modules():
        if isinstance(module, ScaledLinear):
            module.fold()
    torch.testing.assert_close(ffn(x), expected)
