"""CLIP's weights as others store them, made from a reference state dict."""
import re

import torch

# In the released state dict, what CLIP lacks.
OWN = ('message', 'temporal', 'mit.', 'prompts')


def clip_of(released):
    """Take plain CLIP out of a released state dict, with OpenAI's names."""
    return {
        name: value
        for name, value in released.items()
        if not any(part in name for part in OWN)
    }


def save_torchscript(weights, path):
    """Save weights as OpenAI does: half precision, and three more numbers."""
    root = torch.nn.Module()
    for name, value in weights.items():
        *parents, leaf = name.split('.')
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_parameter(
            leaf, torch.nn.Parameter(value.half(), requires_grad=False))
    for name, value in (('input_resolution', 64), ('context_length', 77),
                        ('vocab_size', 49408)):
        root.register_buffer(name, torch.tensor(value))
    root.sizes = [1, 2]
    torch.jit.script(root).save(str(path))


def hugging_face_of(clip):
    """Name CLIP's weights as Hugging Face's ``CLIPModel`` does."""
    weights = {
        'vision_model.embeddings.position_ids':
        torch.arange(17)[None],
        'logit_scale':
        clip['logit_scale'],
        'visual_projection.weight':
        clip['visual.proj'].T.contiguous(),
        'text_projection.weight':
        clip['text_projection'].T.contiguous(),
        'text_model.embeddings.token_embedding.weight':
        clip['token_embedding.weight'],
        'text_model.embeddings.position_embedding.weight':
        clip['positional_embedding'],
        'vision_model.embeddings.class_embedding':
        clip['visual.class_embedding'],
        'vision_model.embeddings.patch_embedding.weight':
        clip['visual.conv1.weight'],
        'vision_model.embeddings.position_embedding.weight':
        clip['visual.positional_embedding'],
    }
    for kind in ('weight', 'bias'):
        for old, new in (('visual.ln_pre', 'vision_model.pre_layrnorm'),
                         ('visual.ln_post', 'vision_model.post_layernorm'),
                         ('ln_final', 'text_model.final_layer_norm')):
            weights[f'{new}.{kind}'] = clip[f'{old}.{kind}']
    for name, value in clip.items():
        match = re.fullmatch(
            r'(visual\.)?transformer\.resblocks\.(\d+)\.(.*?)[._](weight|bias)',
            name)
        if not match:
            continue
        tower = 'vision_model' if match[1] else 'text_model'
        layer = f'{tower}.encoder.layers.{match[2]}'
        if match[3] == 'attn.in_proj':
            for part, block in zip('qkv', value.chunk(3)):
                weights[f'{layer}.self_attn.{part}_proj.{match[4]}'] = block
        else:
            part = {
                'ln_1': 'layer_norm1',
                'ln_2': 'layer_norm2',
                'attn.out_proj': 'self_attn.out_proj',
                'mlp.c_fc': 'mlp.fc1',
                'mlp.c_proj': 'mlp.fc2'
            }[match[3]]
            weights[f'{layer}.{part}.{match[4]}'] = value
    return weights
