import pytest
import torch
import torch.nn.functional as F

from mmaction.registry import MODELS
from projects.ila.models.heads.video_specific_prompt import VideoSpecificPrompt
from projects.ila.models.necks import MultiframeIntegrationTransformer


def build(**kwargs):
    torch.manual_seed(0)
    neck = MODELS.build(
        dict(type='MultiframeIntegrationTransformer', embed_dims=32, **kwargs))
    neck.init_weights()
    return neck.eval()


def test_equals_torch_encoder():
    """torch's pre-norm encoder layer, QuickGELU, plus the residual mean."""
    neck = build(num_frames=5, num_layers=2)
    x = torch.randn(3, 5, 32)
    expected = x + neck.pos_embed
    for layer in neck.layers:
        reference = torch.nn.TransformerEncoderLayer(
            32,
            1,
            128,
            dropout=0.,
            activation=lambda z: z * torch.sigmoid(1.702 * z),
            batch_first=True,
            norm_first=True)
        names = {
            'self_attn.in_proj_': layer.attn.qkv,
            'self_attn.out_proj.': layer.attn.proj,
            'linear1.': layer.ffn.layers[0][0],
            'linear2.': layer.ffn.layers[1],
            'norm1.': layer.ln1,
            'norm2.': layer.ln2
        }
        reference.load_state_dict({
            f'{name}{kind}': getattr(module, kind)
            for name, module in names.items()
            for kind in ('weight', 'bias')
        })
        expected = reference(expected)
    out, losses = neck(x)
    torch.testing.assert_close(out, (expected + x).mean(1))
    assert losses == {}


@pytest.mark.parametrize('name', [
    'MultiframeIntegrationTransformer',
    'TrajectoryTransformer',
])
@torch.no_grad()
def test_other_number_of_frames_interpolates_positions(name):
    """When weights are loaded, and when a video is longer."""
    neck, longer = (
        MODELS.build(dict(type=name, embed_dims=32, num_frames=frames)).eval()
        for frames in (4, 8))
    neck.pos_embed.normal_()
    longer.load_state_dict(neck.state_dict())
    expected = F.interpolate(
        neck.pos_embed.transpose(1, 2), size=8, mode='linear')
    assert torch.equal(longer.pos_embed, expected.transpose(1, 2))
    inputs = dict(x=torch.randn(2, 8, 32), points=torch.randn(2, 8, 1, 2))
    torch.testing.assert_close(neck(**inputs)[0], longer(**inputs)[0])


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match='200 .* 3 heads.*neck.embed_dims`'):
        MultiframeIntegrationTransformer(200)
    with pytest.raises(ValueError, match='200 .* 3 heads.*head.in_channels`'):
        VideoSpecificPrompt(200, 64)
