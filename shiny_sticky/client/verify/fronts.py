"""Which program stands in front of a site, as far as it says so, and what to do there about what was found."""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message

SHINY_STICKY = "shiny-sticky"
UVICORN = "uvicorn"

# What the header Server, or Via, begins with.
SERVERS = {
    "nginx": "nginx",
    "openresty": "nginx",
    "caddy": "Caddy",
    "1.1 caddy": "Caddy",
    "2.0 caddy": "Caddy",
    "apache": "Apache",
    "cloudflare": "Cloudflare",
    "awselb": "AWS ALB",
    "uvicorn": UVICORN,
}

# Whose cookies have these names when nobody has chosen others.
COOKIES = {
    "INGRESSCOOKIE": "ingress-nginx",
    "AWSALB": "AWS ALB",
    "AWSALBCORS": "AWS ALB",
    "AWSALBAPP-0": "AWS ALB",
    "SERVERID": "HAProxy",
    "lb": "Caddy",
    "ARRAffinity": "Azure",
    "GCLB": "Google Cloud",
}

# Anybody who puts no word of its own into answers: HAProxy, Traefik, Envoy.
UNKNOWN = ""

INSTEAD = "Or let the program serve the app that was made for this: shiny-sticky app.py -w 4"

STICKY = {
    UVICORN: [
        "Nobody but uvicorn says who it is. If it has --workers, each connection goes to any of its processes: "
        "give each one a port or socket of its own, and let a proxy in front keep visitors where they are.",
        INSTEAD,
    ],
    "nginx": [
        "nginx, from 1.29.6 on: sticky cookie sticky path=/ httponly samesite=lax; in the upstream. Before: hash "
        "$cookie_… of a cookie that every visitor gets with the page. Round robin keeps nobody.",
        INSTEAD,
    ],
    "ingress-nginx": ['Annotate the Ingress: nginx.ingress.kubernetes.io/affinity: "cookie"', INSTEAD],
    "HAProxy": [
        "In the backend: cookie sticky insert indirect nocache httponly; and a cookie for each server.",
        INSTEAD,
    ],
    "Caddy": ["In reverse_proxy: lb_policy cookie", INSTEAD],
    "Apache": ["BalancerMember with route=…, ProxySet stickysession=…, and a cookie that ends in .route.", INSTEAD],
    "AWS ALB": ["In the target group: stickiness.enabled = true, of type lb_cookie.", INSTEAD],
    UNKNOWN: [
        "Turn on session affinity by a cookie, where requests are spread: HAProxy: cookie sticky insert indirect "
        "nocache httponly; Traefik: loadBalancer.sticky.cookie; Kubernetes: an Ingress or Gateway with a cookie, "
        "for sessionAffinity: ClientIP is lost behind a proxy. Under uvicorn --workers nothing in front can help.",
        INSTEAD,
    ],
}

WITHOUT_COOKIE = [
    "Browsers block cookies in iframes of other sites. Only the session's URL can lead to its process then: "
    "shiny-sticky puts its name there. Else keep visitors by their addresses, all of one office in one place: "
    "nginx: ip_hash; HAProxy: balance source; Caddy: lb_policy client_ip_hash."
]

# What to do about a check that found something; who is not named does as the unknown.
ADVICE: dict[str, dict[str, list[str]]] = {
    "websocket": {
        "nginx": [
            "In the location: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
            'proxy_set_header Connection "upgrade";'
        ],
        "Apache": ["ProxyPass … upgrade=websocket, from 2.4.47 on; before, mod_proxy_wstunnel."],
        "Cloudflare": ["In the dashboard, Network: WebSockets on."],
        UVICORN: ["uvicorn needs a package for it: pip install websockets"],
        UNKNOWN: ["The proxy must speak HTTP/1.1 with the app, and pass the headers Upgrade and Connection."],
    },
    "idle": {
        "nginx": ["In the location: proxy_read_timeout 1d; its default is 60 seconds."],
        "ingress-nginx": ['Annotate the Ingress: nginx.ingress.kubernetes.io/proxy-read-timeout: "86400"'],
        "HAProxy": ["In the backend: timeout tunnel 1d"],
        "Apache": ["ProxyTimeout 86400"],
        "AWS ALB": ["The load balancer's idle_timeout.timeout_seconds; its default is 60."],
        "Cloudflare": ["It ends what is silent for 100 s: let the app ping, uvicorn --ws-ping-interval 20."],
        UNKNOWN: [
            "Raise the idle limit of upgraded connections (HAProxy: timeout tunnel 1d; Traefik: idleTimeout), or "
            "let the app ping more often: uvicorn --ws-ping-interval 20."
        ],
    },
    "sessions": {
        UNKNOWN: ["Look into the app's log, and the proxy's: a server in the pool may be down or not be healthy."],
    },
    "with_cookies": STICKY,
    "tabs": STICKY,
    "without_cookies": {UNKNOWN: WITHOUT_COOKIE},
    "others_cookies": {
        UNKNOWN: [
            "A cookie changes under an open page when another tab was sent elsewhere, after a failover or a "
            "deploy. Nothing that goes by the cookie alone can help; shiny-sticky's session URLs name a process."
        ]
    },
    "cookies": {
        "nginx": ["sticky cookie … path=/ httponly secure samesite=lax; or these words in add_header Set-Cookie."],
        "ingress-nginx": ['nginx.ingress.kubernetes.io/session-cookie-samesite: "Lax", …-secure: "true"'],
        "HAProxy": ["cookie sticky insert indirect nocache httponly secure attr SameSite=Lax"],
        SHINY_STICKY: ["In the settings: apps.<name>.cookie"],
        UNKNOWN: [
            "HttpOnly keeps scripts from it, SameSite=Lax other sites' pages, Secure what is not encrypted. "
            "HAProxy: cookie … httponly secure attr SameSite=Lax; Traefik: httpOnly, secure, sameSite: lax; "
            "elsewhere, if nothing sets them, let the proxy rewrite Set-Cookie."
        ],
    },
    "page": {UNKNOWN: STICKY[UNKNOWN]},
    "compression": {
        "nginx": [
            "gzip on; gzip_proxied any; gzip_types text/css application/javascript text/javascript "
            "application/json image/svg+xml;"
        ],
        "HAProxy": [
            "compression algo gzip; compression type text/html text/css text/javascript application/javascript"
        ],
        "Caddy": ["encode zstd gzip"],
        "Apache": ["AddOutputFilterByType DEFLATE text/html text/css text/javascript application/javascript"],
        UNKNOWN: [
            "Turn on gzip for text in the proxy (HAProxy: compression algo gzip), or Starlette's GZipMiddleware."
        ],
    },
    "caching": {
        "nginx": ["location ~ ^/lib/ { expires 1y; … }: these paths have their version in them."],
        UNKNOWN: [
            "Cache-Control: public, max-age=31536000, immutable for what is below lib/: it has its version in its "
            "path."
        ],
    },
    "page_caching": {
        UNKNOWN: [
            "Cache-Control: no-cache for the page itself: what others keep of it has somebody's cookie in it."
        ]
    },
    "uploads": {
        "nginx": ["In the location: client_max_body_size 100m; its default is 1m."],
        "ingress-nginx": ['Annotate the Ingress: nginx.ingress.kubernetes.io/proxy-body-size: "100m"'],
        "Apache": ["LimitRequestBody 104857600"],
        SHINY_STICKY: ["In the settings: apps.<name>.max_upload"],
        UNKNOWN: ["Raise the limit for the size of a request's body, wherever it is."],
    },
    "origin": {
        "nginx": [
            'location ~ /websocket/$ { if ($http_origin != "https://YOUR.HOST") { return 403; } … }, with all that '
            "the app's location has."
        ],
        "HAProxy": ["http-request deny if { hdr(upgrade) -i websocket } !{ hdr(origin) -i https://YOUR.HOST }"],
        "Caddy": [
            "@foreign { header Upgrade websocket; not header Origin https://YOUR.HOST } and respond @foreign 403"
        ],
        UNKNOWN: [
            "Refuse websockets whose Origin is not the site's own, in the proxy or the app: Shiny does not look, "
            "and else any page that a visitor opens can use the app in the visitor's name."
        ],
    },
    "reconnect": {
        UNKNOWN: ["Look into the app's log: a page whose network was away for a moment begins nothing new."]
    },
    "watch_sessions": {
        SHINY_STICKY: [
            "A crash costs the sessions of its process; their pages begin new ones. A deploy costs none: if it "
            "did, look whether drain_timeout ended them."
        ],
        UNKNOWN: [
            "Stop a process only when its sessions are closed: start the new one first, and take no new visitors."
        ],
    },
    "watch_requests": STICKY,
    "watch_pages": {
        UNKNOWN: [
            "Let the proxy try the next server when one is gone (nginx: proxy_next_upstream; HAProxy: option "
            "redispatch)."
        ]
    },
}


def front_of(headers: Message, cookies: Iterable[str]) -> str:
    """The program in front of a site.

    Args:
        headers: of its page.
        cookies: names of those that it sets.

    Returns:
        Its name; empty if it says nothing of itself, which may also be that cookies are set before a bare uvicorn.
    """
    names = list(cookies)
    for name in names:
        if name in COOKIES:
            return COOKIES[name]
    said = [str(headers.get(header, "")).lower() for header in ("Via", "Server")]
    for word, front in SERVERS.items():
        if any(text.startswith(word) for text in said):
            return UNKNOWN if front == UVICORN and names else front
    return UNKNOWN


def advice(check: str, fronts: list[str]) -> list[str]:
    """What to do about a check that found something.

    Args:
        check: its name.
        fronts: the programs in front, that which may know more of it first.
    """
    by_front = ADVICE[check]
    return next((by_front[front] for front in fronts if front in by_front), by_front[UNKNOWN])
