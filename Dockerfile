# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN ./.ci/build /out/gatehouse && mkdir -p /out/state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gatehouse /gatehouse
COPY --from=build --chown=65532:65532 /out/state /var/lib/gatehouse
# The rule engine wants a directory that it could write to; nothing is written there.
ENV STATE_DIRECTORY=/var/lib/gatehouse TMPDIR=/var/lib/gatehouse
USER 65532:65532
VOLUME /var/lib/gatehouse
EXPOSE 80 443
# Mount the configuration at /etc/gatehouse/gatehouse.yaml. Container runtimes let any user bind ports 80
# and 443 (net.ipv4.ip_unprivileged_port_start=0); where yours does not, listen on 8080 and 8443.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/gatehouse", "health"]
ENTRYPOINT ["/gatehouse"]
CMD ["run", "--config", "/etc/gatehouse/gatehouse.yaml"]
