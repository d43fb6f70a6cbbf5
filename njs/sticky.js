// The routing rule: a browser's cookie names its worker, and the worker that answered names the cookie.
// Maps in conf/snippet.conf.j2 answer the usual cases alike, without JavaScript: a first cookie that is valid, and none.
//
//   upstream(r)   cookie in, upstream out        js_set $sticky_upstream   sticky.upstream;
//   set_cookie(r) upstream in, Set-Cookie out    js_set $sticky_set_cookie sticky.set_cookie;
//
// These variables tell which app a request is for (see conf/snippet.conf.j2):
//
//   $sticky_app         app         its workers are app1, app2, ...
//   $sticky_app_pool    app_pool    the pool of its seats, for new visitors; app_sessions for websockets
//   $sticky_names       app[1-4]    a pattern of their names
//   $sticky_cookie      sticky      the cookie's name
//   $sticky_attributes  Path=/; HttpOnly; SameSite=Lax
//
// Runs on njs 0.7.9 (Debian 12) to 1.0: no optional chaining, no shared dictionary, no state between requests.

// What ends a value.
const END = '[ \\t]*(?:;|$)';

// The worker that a cookie names: the first one of its name that the pattern of a value fits, which holds the worker's
// in brackets. RFC 6265, section 4.2.1, but lenient with white space. Names are case-sensitive, and a value is taken as
// it stands: quotes are not removed. One expression reads the whole line: with a loop over its cookies, a client could
// make nginx work for long.
function named(r, value) {
    const cookie = new RegExp('(?:^|;)[ \\t]*' + r.variables.sticky_cookie + '=' + value);
    const found = cookie.exec(r.variables.http_cookie || '');

    return found && found[1] || '';
}

// The upstream for a request: the worker that the first valid cookie names, or else one of the app's two pools
// (pages, sessions), which take the next seat round robin. Valid is the name of a worker in the table, and nothing
// that merely looks like it; no other ever becomes part of a socket's path.
function upstream(r) {
    return named(r, '(' + r.variables.sticky_names + ')' + END) || r.variables['sticky_' + r.variables.sticky_app + '_pool'];
}

// The worker that answered, as it says itself. What is no name in the table is nobody's.
function answered(r) {
    const worker = r.variables.upstream_http_x_sticky_worker || '';

    return new RegExp('^(?:' + r.variables.sticky_names + ')$').test(worker) ? worker : '';
}

// The Set-Cookie of a response: the name of the worker that answered, or nothing (and then nginx adds no
// header) when the browser's cookie says so already or no worker answered.
function set_cookie(r) {
    const worker = answered(r);

    // The pattern fits any value, so the first one, and its brackets hold the worker's name or nothing.
    if (!worker || worker == named(r, '(?:(' + worker + ')' + END + ')?')) {
        return '';
    }

    return r.variables.sticky_cookie + '=' + worker + '; ' + r.variables.sticky_attributes;
}

export default { upstream, set_cookie };
