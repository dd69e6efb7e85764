# One image for every process; which one it is, the command says (see docker-compose.yml).
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY . /source
RUN pip install --no-cache-dir --prefix=/installed /source

FROM python:3.12-slim
COPY --from=build /installed /usr/local
RUN useradd --create-home --home-dir /data cache
USER cache
WORKDIR /data
VOLUME /data
EXPOSE 6379 26379
CMD ["cache-server", "--bind", "*", "--protected-mode", "no", "--dir", "/data"]
