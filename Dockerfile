# Elicit in a container. From the project's directory:
#     docker build --build-arg EXTRA=tpu --tag elicit .        # or cuda13, cuda12; empty for CPUs
#     docker run --rm --volume "$PWD/runs:/runs" elicit quickstart --out /runs/quickstart
FROM python:3.13-slim

ARG EXTRA=""
WORKDIR /elicit
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRA:+[$EXTRA]}" \
    && useradd --create-home --uid 1000 user \
    && install --directory --owner 1000 /runs

USER 1000
WORKDIR /runs
ENTRYPOINT ["elicit"]
