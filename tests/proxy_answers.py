"""Bodies of a 404 that proxies, load balancers and frameworks send, and registries do not."""

PROXY_BODIES: dict[str, bytes] = {
    "empty": b"",
    "Go": b"404 page not found\n",
    "ingress": b"default backend - 404",
    "nginx": b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<hr></body></html>",
    "message": b'{"message":"not found"}',
    "detail": b'{"detail":"Not found"}',
    "problem": b'{"type":"about:blank","title":"Not Found","status":404}',
    "no errors": b'{"errors":[]}',
    "errors is text": b'{"errors":"NAME_UNKNOWN"}',
    "error is text": b'{"errors":["NAME_UNKNOWN"]}',
    "code is a number": b'{"errors":[{"code":404}]}',
    "code is a list": b'{"errors":[{"code":["NAME_UNKNOWN"]}]}',
    "no code": b'{"errors":[{"status":404,"message":"Not Found"}]}',
    "list": b'[{"code":"NAME_UNKNOWN"}]',
    "code outside of errors": b'{"code":"NAME_UNKNOWN"}',
    "lower case": b'{"errors":[{"code":"name_unknown"}]}',
    "unsupported": b'{"errors":[{"code":"UNSUPPORTED","message":"no such operation"}]}',
    "unauthorized": b'{"errors":[{"code":"UNAUTHORIZED"}]}',
    "cut off": b'{"errors":[{"code":"NAME_UNKNOWN"',
    "another charset": '{"errors":[{"code":"NAME_UNKNOWN","message":"é"}]}'.encode("latin-1"),
    "huge": b'{"errors":[{"code":"NAME_UNKNOWN"}]}' + b" " * 70_000,
    "not gzip": b"\x1f\x8b\x08\x00broken",
}
"""By what is unusual about them."""
