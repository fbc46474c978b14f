// What happens in one tab, and another one of this host wants to know: that the person has signed in and verified. It
// asks the server whether it is so when another tab says that something has changed, and when this one comes to the front. Never
// by the clock, and not more often than every two seconds, as a script of a tool could say so all day.
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

// state is when the person who is signed in here verified, in seconds; 0: not at all.
async function state() {
  try {
    const response = await fetch("/.sallyport/whoami", { credentials: "same-origin", redirect: "error", cache: "no-store", headers: { Accept: "application/json" } });
    const who = response.ok ? await response.json() : {};
    return who.level === "verified" ? Date.now() / 1000 - who.verified_age_seconds : 0;
  } catch {
    return null; // no answer is no change
  }
}

// verified calls then once the person has verified in another tab since this page was loaded.
export function verified(then) {
  const before = state();
  let asked = -gap;
  let waiting = 0;

  function check() {
    if (waiting || document.visibilityState !== "visible") return;
    waiting = setTimeout(async () => {
      asked = performance.now();
      const [was, is] = [await before, await state()];
      waiting = 0;
      if (is && is > (was || 0) + 1.5) then(); // ages are whole seconds
    }, Math.max(0, asked + gap - performance.now()));
  }

  document.addEventListener("visibilitychange", check);
  addEventListener("focus", check);
  addEventListener("pageshow", (event) => event.persisted && check());
  if (channel) channel.addEventListener("message", check);
}
