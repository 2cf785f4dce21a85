# The image of controller and workers: one binary, not root, nothing written outside of what is mounted.
#   docker build --tag onceward:0.1.0 .
FROM rust:1.95-bookworm AS build
# librdkafka and OpenSSL are built from vendored sources.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --locked --profile dist --package onceward --bin onceward --target-dir /target

FROM debian:bookworm-slim
# Authorities that certificates of object stores are signed by.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /target/dist/onceward /usr/local/bin/onceward
# A number, so that Kubernetes can see that it is not root; the chart has the same.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/onceward"]
