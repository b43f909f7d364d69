# The build steps are those of CI: make dist.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH=amd64
ARG VERSION
RUN make dist ARCHS="$TARGETARCH" ${VERSION:+VERSION="$VERSION"}
RUN cp "dist/sightline-linux-$TARGETARCH" /sightline
RUN make sbom ARCHS="$TARGETARCH" ${VERSION:+VERSION="$VERSION"} && \
    cp "dist/sightline-linux-$TARGETARCH.licenses.txt" /licenses.txt && \
    cp "dist/sightline-linux-$TARGETARCH.cdx.json" /sbom.cdx.json

FROM scratch
COPY --from=build /sightline /licenses.txt /sbom.cdx.json /
# The authorities by which an ACME server is checked (http.acme).
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Nobody's: the gateway needs no privilege, and writes only where it is let
# (docs/OPERATIONS.md has the lines for a read-only container without capabilities).
USER 65532:65532
# A container is reached from outside, so without tokens (or SIGHTLINE_AUTH_OPEN=true) it
# refuses to start and says why. A file: mount it and set SIGHTLINE_CONFIG to its path.
ENV SIGHTLINE_HTTP_LISTEN=:8080
EXPOSE 8080/tcp 8189/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/sightline", "healthcheck"]
ENTRYPOINT ["/sightline"]
CMD ["serve"]
