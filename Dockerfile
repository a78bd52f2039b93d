# docs/docker.md describes how to build and use it.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# For torch.compile, and for Triton on GPUs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ila
COPY requirements requirements
# cpu, or cuda for NVIDIA's GPUs. PyPI's PyTorch is that for CUDA, with NVIDIA's
# libraries, which the lock lists.
ARG DEVICE=cpu
RUN if [ "$DEVICE" = cpu ]; then \
        sed -i -E '/^(cuda|nvidia|triton)/d' requirements/lock.txt; \
        export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; \
    fi \
    && pip install --no-cache-dir --no-deps \
        -r requirements/lock.txt -r requirements/mminstall.txt

COPY . .
# Any user may run it: `docker run --user` has neither a home nor a name, which
# caches need.
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && chmod -R a+rX . \
    && useradd --create-home --uid 1000 ila \
    && mkdir /home/ila/.cache \
    && chmod -R 1777 /home/ila
ENV HOME=/home/ila USER=ila
USER 1000
CMD ["bash"]
