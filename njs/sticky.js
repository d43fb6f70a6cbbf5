// The routing rule: a browser's cookie names its worker, and the worker that answered names the cookie.
// Maps in conf/snippet.conf.j2 answer the usual cases alike, without JavaScript: one valid cookie, and none.
//
//   upstream(r)   cookie in, upstream out        js_set $sticky_upstream   sticky.upstream;
//   set_cookie(r) upstream in, Set-Cookie out    js_set $sticky_set_cookie sticky.set_cookie;
//
// These variables tell which app a request is for (see conf/snippet.conf.j2):
//
//   $sticky_app         app         its workers are app1, app2, ...
//   $sticky_app_pool    app_pool    its round-robin pool; app_sessions for websockets
//   $sticky_workers     4           how many there are
//   $sticky_cookie      sticky      the cookie's name
//   $sticky_attributes  Path=/; HttpOnly; SameSite=Lax
//
// Runs on njs 0.7.9 (Debian 12) to 1.0: no optional chaining, no shared dictionary, no state between requests.

// Every value that the Cookie header gives for the name, in order; RFC 6265, section 4.2.1, but lenient with
// white space. Names are case-sensitive, and a value is taken as it stands: quotes are not removed.
function values(r) {
    const name = r.variables.sticky_cookie + '=';

    return (r.variables.http_cookie || '')
        .split(';')
        .map((pair) => pair.replace(/^[ \t]+|[ \t]+$/g, ''))
        .filter((pair) => pair.startsWith(name))
        .map((pair) => pair.slice(name.length));
}

// Whether the text is the name of a worker in the table: app1 ... app4, nothing that merely looks like it.
// Only names that pass here, or the generated map's equal test, ever become part of a socket's path.
function is_worker(r, text) {
    const app = r.variables.sticky_app;
    const number = text.slice(app.length);

    return text.startsWith(app) && /^[1-9][0-9]{0,2}$/.test(number) && Number(number) <= Number(r.variables.sticky_workers);
}

// The upstream for a request: the worker that the first valid cookie names, or else one of the app's two pools
// (pages, sessions), which take the next worker round robin.
function upstream(r) {
    const named = values(r).filter((value) => is_worker(r, value));

    return named.length ? named[0] : r.variables['sticky_' + r.variables.sticky_app + '_pool'];
}

// The worker that answered. $upstream_addr lists every server that was tried, as in
// "unix:/srv/run/app1.sock, unix:/srv/run/app2.sock"; the last one is the one that answered.
function answered(r) {
    const socket = /([a-z0-9_]+)\.sock$/.exec(r.variables.upstream_addr || '');

    return socket && is_worker(r, socket[1]) ? socket[1] : '';
}

// The Set-Cookie of a response: the name of the worker that answered, or nothing (and then nginx adds no
// header) when the browser's cookie says so already or no worker answered.
function set_cookie(r) {
    const worker = answered(r);

    if (!worker || worker == values(r)[0]) {
        return '';
    }

    return r.variables.sticky_cookie + '=' + worker + '; ' + r.variables.sticky_attributes;
}

export default { upstream, set_cookie };
