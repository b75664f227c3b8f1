# The service as one static binary on an empty image.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/legato-calls/legato/internal/service.version=${VERSION}" -o /out/legato ./cmd/legato \
 && mkdir -p /out/data

# No shell, no package manager; certificates for api.telnyx.com are in it, and
# it runs as user 65532.
FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/legato /usr/local/bin/legato
# A volume takes the ownership of the directory that it is first mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
# A loader answers where the health check asks, too.
ENV LEGATO_ADMIN_LISTEN=:8081 \
    LEGATO_LOAD_ADMIN_LISTEN=:8081 \
    LEGATO_DATA_DIR=/data
VOLUME /data
# Webhooks, operators, NATS (only when LEGATO_NATS_LISTEN opens it, with a login).
EXPOSE 8080 8081 4222
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s CMD ["/usr/local/bin/legato", "health"]
ENTRYPOINT ["/usr/local/bin/legato"]
CMD ["serve"]
