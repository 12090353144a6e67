# The image for all steps of the pipeline, with three targets pinned by one lock file:
#   cpu (the default):          docker build --tag outnumbered:0.1.0 .
#   gpu (with CUDA libraries):  docker build --target gpu --tag outnumbered:0.1.0-gpu .
#   worker (for the engines of Beam that start containers, --sdk_container_image):
#                               docker build --target worker --tag outnumbered:0.1.0-worker .
# The base image must have Python 3.11 as python3 and its venv module.
ARG BASE=python:3.11-slim-bookworm
# Of the version of Beam in uv.lock; only the target worker uses it.
ARG BEAM=apache/beam_python3.11_sdk:2.77.0

FROM ${BASE} AS build
# Such as "--extra mlflow --extra model-registry".
ARG EXTRAS=""
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/outnumbered \
    UV_PYTHON=python3 \
    UV_PYTHON_DOWNLOADS=never
# pyfarmhash, which TFDV requires, has no wheel: it needs a compiler and Python's headers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
        $(python3 -c 'import os, sysconfig; \
            header = sysconfig.get_path("include") + "/Python.h"; \
            print("" if os.path.exists(header) else "python3-dev")') \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir 'uv>=0.7,<1'
WORKDIR /src
# Dependencies are installed first, so that a change of the project's code keeps their layer.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev $EXTRAS --no-install-project

FROM build AS build-cpu
ARG EXTRAS
COPY README.md LICENSE ./
COPY components components
COPY pipeline pipeline
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev $EXTRAS --no-editable

FROM build AS build-gpu
ARG EXTRAS
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev $EXTRAS --no-install-project --extra gpu
COPY README.md LICENSE ./
COPY components components
COPY pipeline pipeline
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev $EXTRAS --no-editable --extra gpu

FROM build AS build-worker
ARG EXTRAS
COPY README.md LICENSE ./
COPY components components
COPY pipeline pipeline
# Beam's program does not start a worker without pip, even if it installs nothing.
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev $EXTRAS --no-editable --group worker

FROM ${BEAM} AS beam

FROM ${BASE} AS runtime
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="outnumbered" \
      org.opencontainers.image.description="The production image pipeline for the class that is outnumbered" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# Group 0 can write to the same folders as the user, for clusters that assign a user ID per
# container. Steps that only read run as the second user (kubeflow.users), with /work as a volume.
# The launcher of Kubeflow Pipelines keeps artifacts in /gcs, /minio and /s3; deploy/
# mounts the model registry at /registry. Nothing else is written, so the root can be read-only.
RUN if python3 -m pip --version >/dev/null 2>&1; then \
        python3 -m pip uninstall --yes --root-user-action ignore setuptools wheel pip; \
    fi \
    && echo 'outnumbered:x:10001:0:outnumbered:/work:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'reader:x:10002:10002:outnumbered:/work:/usr/sbin/nologin' >> /etc/passwd \
    && install --directory --owner 10001 --group 0 --mode 0775 \
        /work /gcs /minio /s3 /registry
ENV HOME=/work \
    KERAS_HOME=/work/.keras \
    MPLCONFIGDIR=/work/.config/matplotlib \
    PATH=/opt/outnumbered/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/work \
    XDG_CACHE_HOME=/work/.cache \
    XDG_CONFIG_HOME=/work/.config
WORKDIR /work
USER 10001:0
# No ENTRYPOINT: each step of a pipeline sets its whole command.
CMD ["outnumbered", "--help"]

FROM runtime AS gpu
# The NVIDIA container toolkit mounts the libraries for compute and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/outnumbered /opt/outnumbered

FROM runtime AS worker
COPY --from=build-worker /opt/outnumbered /opt/outnumbered
COPY --from=beam /opt/apache/beam/boot /opt/apache/beam/LICENSE /opt/apache/beam/LICENSE.python \
    /opt/apache/beam/NOTICE /opt/apache/beam/
# Otherwise Beam's program makes an environment of its own per worker, in a folder of root.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/outnumbered /opt/outnumbered
