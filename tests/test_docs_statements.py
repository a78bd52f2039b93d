"""What the documents state, and where their links lead."""
import re

import pytest
import torch
import yaml
from commands import ROOT
from timm.data.constants import (IMAGENET_DEFAULT_MEAN,
                                 IMAGENET_INCEPTION_MEAN, OPENAI_CLIP_MEAN)

from mmaction.registry import MODELS
from projects.ila import __version__

DOCUMENTS = [
    path for folder in ('.', 'docs', 'benchmarks')
    for path in sorted((ROOT / folder).glob('*.md'))
]


def test_both_languages_have_the_same_commands_and_numbers():
    english, chinese = ((ROOT / name).read_text()
                        for name in ('README.md', 'README_zh-CN.md'))
    for pattern in ('```(?:shell|python)\n.*?```', r'^\| `ila_.*?$'):
        blocks = [
            re.sub(r' *#.*', '',
                   '\n'.join(re.findall(pattern, text, re.S | re.M)))
            for text in (english, chinese)
        ]
        assert blocks[0] == blocks[1] != ''
    links = [
        sorted(re.findall(r'\]\((.*?)\)', text)) for text in (english, chinese)
    ]
    links[0].remove('README_zh-CN.md')
    links[1].remove('README.md')
    assert links[0] == links[1]


def slug(heading):
    """Name a heading as GitHub does in links."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


@pytest.mark.parametrize(
    'document', DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_links_lead_somewhere(document):
    text = document.read_text()
    for link in re.findall(r'\]\((?!https://)(.*?)\)', text):
        name, _, anchor = link.partition('#')
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            headings = re.findall('^#+ (.*)', target.read_text(), re.M)
            assert anchor in map(slug, headings), link


def test_tour_names_files():
    text = (ROOT / 'docs/tour.md').read_text()
    names = re.findall(r'`([a-z]\w*/[\w/]*(?:\.py)?)`', text)
    names = [name for name in names if not name.startswith('projects/')]
    assert len([name for name in names if name.endswith('.py')]) >= 8
    for name in names:
        folder = '' if name.startswith('configs/') else 'projects/ila/models'
        assert (ROOT / folder / name).exists(), name


def test_table_of_timm_models():
    rows = re.findall(r'^\| [^|]* \| `(\w+\.?\w*)` \| (\d+) \| (\S+)',
                      (ROOT / 'docs/images.md').read_text(), re.M)
    assert len(rows) == 6
    means = {
        "ImageNet's": IMAGENET_DEFAULT_MEAN,
        "ImageNet's,": IMAGENET_DEFAULT_MEAN,
        '127.5': IMAGENET_INCEPTION_MEAN,
        "CLIP's": OPENAI_CLIP_MEAN
    }
    for name, channels, mean in rows:
        with torch.device('meta'):
            image = MODELS.build(dict(type='TimmImage', model=name))
        assert image.embed_dims == int(channels), name
        assert image.model.pretrained_cfg['mean'] == means[mean], name


def test_versions_and_citation():
    changes = (ROOT / 'CHANGELOG.md').read_text()
    assert re.findall(r'^## (.*)', changes, re.M)[0] == __version__
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert {'cff-version', 'message', 'title', 'authors'} <= citation.keys()
    assert citation['version'] == __version__
    paper = citation['preferred-citation']
    for name in ('README.md', 'README_zh-CN.md'):
        bibtex, = re.findall('```bibtex\n(.*?)```', (ROOT / name).read_text(),
                             re.S)
        entries = dict(re.findall(r'(\w+) *= \{(.*)\}', bibtex))
        assert entries['title'] == paper['title']
        assert entries['year'] == str(paper['year'])
        assert entries['author'] == ' and '.join(
            f"{author['family-names']}, {author['given-names']}"
            for author in paper['authors'])
        assert paper['url'].endswith(entries['eprint'])
