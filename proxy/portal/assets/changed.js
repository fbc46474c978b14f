// What happens in one tab, and another one of this host wants to know: that the person has signed in and verified. It
// asks the server whether it is so when it begins, when another tab says that something has changed, and when this one comes to the
// front. Never by the clock, and not more often than every two seconds, as a script of a tool could say so all day.
const gap = 2_000;

// channel is null where there are none; coming to the front is enough. One for this page: it does not hear itself.
const channel = (() => {
  try {
    return new BroadcastChannel("sallyport");
  } catch {
    return null;
  }
})();

// tell has the other tabs ask.
export function tell() {
  if (channel) channel.postMessage("changed");
}

// made is when the server made this page. The person may verify in another tab before the scripts of this one run.
const made = Number(document.documentElement.dataset.made);

// since reports whether the person who is signed in here has verified since then. No answer is no change.
async function since() {
  try {
    const response = await fetch("/.sallyport/whoami", { credentials: "same-origin", redirect: "error", cache: "no-store", headers: { Accept: "application/json" } });
    return response.ok && Date.parse((await response.json()).verified_at) > made;
  } catch {
    return false;
  }
}

// verified calls then once the person has verified in another tab since this page was made.
export function verified(then) {
  let asked = -gap;
  let waiting = 0;

  function check() {
    if (waiting || document.visibilityState !== "visible") return;
    waiting = setTimeout(async () => {
      asked = performance.now();
      const changed = await since();
      waiting = 0;
      if (changed) then();
    }, Math.max(0, asked + gap - performance.now()));
  }

  document.addEventListener("visibilitychange", check);
  addEventListener("focus", check);
  addEventListener("pageshow", (event) => event.persisted && check());
  if (channel) channel.addEventListener("message", check);
  check();
}
