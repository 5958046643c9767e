"""Access logs of web servers, in the combined format that Apache and nginx share."""

import clock
from tree import ROTATED
from world import SUBJECTS

APACHE, NGINX = "/var/log/apache2/access.log", "/var/log/nginx/access.log"

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "curl/8.{}.0",
    "python-requests/2.{}.3",
    "Go-http-client/1.1",
    "Mozilla/5.0 zgrab/0.x",
)
PAGES = (
    "/",
    "/index.html",
    "/login",
    "/logout",
    "/robots.txt",
    "/favicon.ico",
    "/search?q={word}",
    "/shop/{word}/{n}",
    "/api/v1/{word}?page={n}",
    "/api/v2/{word}s/{hex}",
    "/static/app.{hex}.js",
    "/img/{word}-{n}.png",
    "/account/{word}",
)
PROBES = (
    "/wp-login.php",
    "/.env",
    "/.git/config",
    "/admin/config.php",
    "/cgi-bin/luci",
    "/phpmyadmin/index.php",
    "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
    "/boaform/admin/formLogin",
    "/actuator/health",
)


def fill(tree, world, path, count):
    """Fill one access log."""
    tree.rotate(path, ROTATED)
    for seconds in world.times(count):
        hit(tree, path, seconds, world.visitor(), *request(world))


def hit(tree, path, seconds, address, request_line, code, size, referrer, agent):
    """One request."""
    tree.add(
        path,
        seconds,
        f'{address} - - [{clock.web(seconds)}] "{request_line}" {code} {size} "{referrer}" "{agent}"\n',
    )


def request(world):
    """Request line, code, size, referrer and agent of a visitor or a scanner."""
    agent = world.pick(AGENTS).format(world.number(100, 140))
    if world.chance(0.15):
        return (
            f"GET {world.pick(PROBES)} HTTP/1.1",
            world.pick((404, 404, 403)),
            world.number(150, 600),
            "-",
            agent,
        )
    method = world.pick(("GET", "GET", "GET", "GET", "POST"))
    referrer = world.pick(("-", "-", "https://shop.example.com/", f"https://shop.example.com{page(world)}"))
    code = world.pick((200, 200, 200, 200, 200, 301, 304, 404, 500))
    return f"{method} {page(world)} HTTP/1.1", code, world.number(200, 90_000), referrer, agent


def page(world):
    return world.pick(PAGES).format(word=world.pick(SUBJECTS), n=world.number(1, 5000), hex=world.hex(32))
