# Latchkey as one static binary on an empty image.
#
#	docker build -t latchkey .
#	docker run -p 127.0.0.1:8080:8080 -v latchkey-data:/data latchkey

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
# Set by the builder, also for another platform than its own.
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=0.1.0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags nomsgpack -ldflags "-s -w -X main.version=$VERSION" -o /out/latchkey ./cmd/latchkey
# What the empty image lacks: a folder that the user below may write to.
RUN mkdir /out/data

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Latchkey" \
      org.opencontainers.image.description="An OIDC-aware identity broker: every login ends in a session with a refresh token" \
      org.opencontainers.image.source="https://github.com/latchkey-id/latchkey" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/latchkey /latchkey
ENV LATCHKEY_DATA_DIR=/data
USER 65532:65532
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 CMD ["/latchkey", "healthcheck"]
ENTRYPOINT ["/latchkey"]
CMD ["serve"]
