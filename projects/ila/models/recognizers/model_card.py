"""Contents and template of model cards."""
from typing import Dict

from torch import nn

from ...utils.config_datasets import find_pipeline
from ..heads import ILATextHead, has_text_tower

# A Jinja template. Unknown parts are left for the author to fill in.
TEMPLATE = '''---
{{ card_data }}
---

# {{ (repo_id or 'ILA').split('/')[-1] }}

A model that classifies and embeds videos:
[ILA (Implicit Learnable Alignment)](https://arxiv.org/abs/2304.10465) for
MMAction2, the package `mmaction2-ila`.

| Model | |
|---|---|
{% for name, value in model.items() -%}
| {{ name }} | {{ value | replace('|', '&#124;') }} |
{% endfor %}
## Accuracy

{% if accuracy -%}
On the validation data of the training, at this checkpoint:

| Metric | |
|---|---|
{% for name, value in accuracy.items() -%}
| {{ name }} | {{ '%.4f' | format(value) }} |
{% endfor %}
{% else -%}
*To be filled in: data set, split, views and accuracy.*

{% endif -%}
## Training

{% if training -%}
| | |
|---|---|
{% for name, value in training.items() -%}
| {{ name }} | {{ value | replace('|', '&#124;') }} |
{% endfor %}
{% else -%}
*To be filled in: data, settings, and what the weights were before.*

{% endif -%}
## Use

```python
from projects.ila.apis import ILAInferencer

inferencer = ILAInferencer('hf:{{ repo_id or 'OWNER/NAME' }}')
print(inferencer('a.mp4'))
```

`ILARecognizer.from_pretrained` of `projects.ila.models` returns the model
itself.

## Licence

{% if license -%}
{{ license }}
{%- else -%}
*To be filled in, here and as `license` at the top. The licences of the data and
of the weights that the training started from may limit it.*
{%- endif %}
'''


def describe_model(model: nn.Module, cfg: dict) -> Dict[str, dict]:
    """Describe a recognizer for its card.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        cfg (dict): The config that is shared, see :func:`select_shared`.

    Returns:
        dict: ``model``, a dict of texts by topic.
    """
    backbone, head = model.backbone, model.cls_head
    image = backbone.image
    sizes = ', '.join(f"{name.replace('_', ' ')} {value}"
                      for name, value in image.arch_settings.items()
                      if isinstance(value, (int, str)))
    lengths = [
        step['clip_len'] for step in find_pipeline(cfg, 'test')
        if 'clip_len' in step
    ]
    parameters = sum(value.numel() for value in model.parameters())
    rows = {
        'temporal module': f'{backbone.temporal_type}, in '
        f'{len(backbone.temporal_layers)} of {backbone.num_layers} blocks',
        'image model': f'{type(image).__name__}: {sizes}',
        'neck': type(model.neck).__name__ if model.with_neck else 'mean',
        'head': type(head).__name__,
        'classes': str(head.num_classes),
        'frames': str(lengths[0]) if lengths else '',
        'input': f'{image.img_size} x {image.img_size} pixels',
        'parameters': f'{parameters:,}'
    }
    if isinstance(head, ILATextHead):
        names = ' '.join(', '.join(head.class_names[:5]).split())
        rows['classes'] += f' ({names}{", …" * (head.num_classes > 5)})'
        rows['head'] += (', with a text tower: takes other class names'
                         if has_text_tower(head) else '')
    return dict(model={name: text for name, text in rows.items() if text})
