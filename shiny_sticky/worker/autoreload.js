// @ts-check
// In pages that are served under --reload: comes back with new code as soon as a worker has it.
(() => {
    const { src } = /** @type {HTMLScriptElement} */ (document.currentScript);
    const here = new URL(src);
    const release = here.searchParams.get("release");
    const there = `${here.protocol.replace("http", "ws")}//${here.host}${here.pathname.replace(/\.js$/, "")}`;
    const pause = 100; // milliseconds between an end of the connection and the next one

    function follow() {
        const socket = new WebSocket(there);
        socket.onmessage = ({ data }) => {
            if (data !== release) location.reload();
        };
        // Its worker has ended. The next one is there already, or nginx answers once it is.
        socket.onclose = () => setTimeout(follow, pause);
    }

    follow();
})();
