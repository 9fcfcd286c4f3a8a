FROM python:3.13-slim AS build
COPY requirements.txt /
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --requirement /requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
WORKDIR /app
COPY wsgi.py gunicorn.conf.py ./
COPY templates templates/
COPY pyoci_flask pyoci_flask/
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
# Not through urllib, which would ask the proxy of HTTP_PROXY for it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD ["python", "-c", "import http.client, os, sys; health = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=4); health.request('GET', '/health'); sys.exit(health.getresponse().status != 200)"]
CMD ["gunicorn", "wsgi:app"]
