# Three images: a node of Wadi (target wadi, the default), and what docker-compose.yml
# runs beside it: MinIO (target minio) and nginx (target nginx).

FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/wadi ./localstack/cmd/make-bucket

# The version is that of localstack.MinIOTool.
FROM golang:1.26-alpine AS minio-build
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags="-s -w" \
    github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM alpine:3 AS minio
RUN adduser -D -u 10001 minio && mkdir /data && chown minio /data
COPY --from=minio-build /out/minio /usr/local/bin/minio
USER minio
VOLUME /data
EXPOSE 9000
ENTRYPOINT ["minio"]

# Debian's nginx, as that is what the tests and `make cluster` run on.
FROM debian:12-slim AS nginx
RUN apt-get update && apt-get install -y --no-install-recommends nginx && rm -rf /var/lib/apt/lists/*
COPY deploy/nginx/nginx.conf /etc/nginx/nginx.conf
USER www-data
EXPOSE 8080
ENTRYPOINT ["nginx", "-e", "stderr", "-g", "daemon off;"]

FROM alpine:3 AS wadi
RUN adduser -D -u 10001 wadi && mkdir /var/lib/wadi && chown wadi /var/lib/wadi
COPY --from=build /out/wadi /out/make-bucket /usr/local/bin/
USER wadi
VOLUME /var/lib/wadi
EXPOSE 8080 8081
ENTRYPOINT ["wadi"]
