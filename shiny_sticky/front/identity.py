"""Request headers by which web servers, proxies and platforms tell an app who the user is.

Nobody may send their own, so nginx takes them out of every request; `identity_headers` lets single ones pass, from
trusted proxies alone. nginx knows no prefixes (X-MS-*), so each header that a product documents has its place here.
"""

from __future__ import annotations

# By what sets them. Shiny itself reads `session.user` and `session.groups` from the first two.
IDENTITY_HEADERS: dict[str, tuple[str, ...]] = {
    "Shiny Server, Posit Connect": (
        "Shiny-Server-Credentials",
        "RStudio-Connect-Credentials",
        "Posit-Connect-User-Session-Token",
    ),
    "Apache, Authelia, Tinyauth": (
        "Remote-User",
        "Remote-Groups",
        "Remote-Email",
        "Remote-Name",
        "Remote-Sub",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Remote-Groups",
        "X-Remote-Email",
        "X-Remote-Name",
    ),
    "OAuth2 Proxy, Databricks, Traefik": (
        "X-Forwarded-User",
        "X-Forwarded-Groups",
        "X-Forwarded-Email",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Access-Token",
    ),
    "client certificates, by Envoy and Traefik": (
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
    ),
    "Grafana's and ShinyProxy's conventions, Vouch": (
        "X-Webauth-User",
        "X-Webauth-Email",
        "X-Webauth-Name",
        "X-Webauth-Groups",
        "X-Webauth-Role",
        "X-SP-UserId",
        "X-SP-UserGroups",
        "X-Vouch-User",
        "X-Vouch-Idp-Accesstoken",
        "X-Vouch-Idp-Idtoken",
        "X-Vouch-Idp-Claims-Email",
        "X-Vouch-Idp-Claims-Groups",
        "X-Vouch-Idp-Claims-Name",
        "X-Vouch-Idp-Claims-Sub",
    ),
    "Keycloak's Gatekeeper": (
        "X-Auth-Audience",
        "X-Auth-Email",
        "X-Auth-Groups",
        "X-Auth-Roles",
        "X-Auth-Subject",
        "X-Auth-Userid",
        "X-Auth-Username",
    ),
    "Cloudflare Access": (
        "Cf-Access-Authenticated-User-Email",
        "Cf-Access-Jwt-Assertion",
    ),
    "Authentik": (
        "X-Authentik-Username",
        "X-Authentik-Groups",
        "X-Authentik-Entitlements",
        "X-Authentik-Email",
        "X-Authentik-Name",
        "X-Authentik-Uid",
        "X-Authentik-Jwt",
        "X-Authentik-Meta-Jwks",
        "X-Authentik-Meta-Outpost",
        "X-Authentik-Meta-Provider",
        "X-Authentik-Meta-App",
        "X-Authentik-Meta-Version",
    ),
    "Tailscale": (
        "Tailscale-User-Login",
        "Tailscale-User-Name",
        "Tailscale-User-Profile-Pic",
        "Tailscale-App-Capabilities",
        "Tailscale-Headers-Info",
        "Tailscale-User",
        "Tailscale-Login",
        "Tailscale-Name",
        "Tailscale-Profile-Picture",
        "Tailscale-Tailnet",
    ),
    "Pomerium, Teleport": (
        "X-Pomerium-Jwt-Assertion",
        "X-Pomerium-Claim-User",
        "X-Pomerium-Claim-Email",
        "X-Pomerium-Claim-Groups",
        "X-Pomerium-Claim-Name",
        "X-Pomerium-Claim-Given-Name",
        "X-Pomerium-Claim-Family-Name",
        "X-Pomerium-Claim-Sub",
        "Teleport-Jwt-Assertion",
    ),
    "Google's Identity-Aware Proxy": (
        "X-Goog-Authenticated-User-Email",
        "X-Goog-Authenticated-User-Id",
        "X-Goog-Authenticated-User-Jwt",
        "X-Goog-Iap-Jwt-Assertion",
    ),
    "Amazon's load balancers": (
        "X-Amzn-Oidc-Identity",
        "X-Amzn-Oidc-Data",
        "X-Amzn-Oidc-Accesstoken",
    ),
    "Snowflake": (
        "Sf-Context-Current-User",
        "Sf-Context-Current-User-Email",
        "Sf-Context-Current-User-Token",
    ),
    "Azure's App Service": (
        "X-MS-CLIENT-PRINCIPAL",
        "X-MS-CLIENT-PRINCIPAL-ID",
        "X-MS-CLIENT-PRINCIPAL-NAME",
        "X-MS-CLIENT-PRINCIPAL-IDP",
        "X-MS-TOKEN-AAD-ID-TOKEN",
        "X-MS-TOKEN-AAD-ACCESS-TOKEN",
        "X-MS-TOKEN-AAD-REFRESH-TOKEN",
        "X-MS-TOKEN-AAD-EXPIRES-ON",
        "X-MS-TOKEN-FACEBOOK-ACCESS-TOKEN",
        "X-MS-TOKEN-FACEBOOK-EXPIRES-ON",
        "X-MS-TOKEN-GITHUB-ACCESS-TOKEN",
        "X-MS-TOKEN-GOOGLE-ID-TOKEN",
        "X-MS-TOKEN-GOOGLE-ACCESS-TOKEN",
        "X-MS-TOKEN-GOOGLE-REFRESH-TOKEN",
        "X-MS-TOKEN-GOOGLE-EXPIRES-ON",
        "X-MS-TOKEN-MICROSOFTACCOUNT-ACCESS-TOKEN",
        "X-MS-TOKEN-MICROSOFTACCOUNT-AUTHENTICATION-TOKEN",
        "X-MS-TOKEN-MICROSOFTACCOUNT-EXPIRES-ON",
        "X-MS-TOKEN-MICROSOFTACCOUNT-REFRESH-TOKEN",
        "X-MS-TOKEN-TWITTER-ACCESS-TOKEN",
        "X-MS-TOKEN-TWITTER-ACCESS-TOKEN-SECRET",
        "X-MS-TOKEN-APPLE-ID-TOKEN",
    ),
}


def stripped(passed: list[str]) -> dict[str, list[str]]:
    """The headers that are taken out of every request, by what sets them.

    Args:
        passed: the headers that trusted proxies may send; their case does not matter.
    """
    kept = {name.lower() for name in passed}
    return {
        product: left
        for product, names in IDENTITY_HEADERS.items()
        if (left := [name for name in names if name.lower() not in kept])
    }
