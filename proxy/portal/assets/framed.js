// Shows the tool again once the person has verified in another tab. It asks our own host whether they have: when a page
// of ours in another tab says that something has changed, and when this one comes to the front. Never by the
// clock, and not more often than every two seconds, as a script of the tool could say so all day.
const gap = 2_000;

// state is who is signed in here and when they verified, in seconds; 0: not at all.
async function state() {
  try {
    const response = await fetch("/.sallyport/whoami", { credentials: "same-origin", redirect: "error", cache: "no-store", headers: { Accept: "application/json" } });
    const who = response.ok ? await response.json() : {};
    return who.level === "verified" ? Date.now() / 1000 - who.verified_age_seconds : 0;
  } catch {
    return null; // no answer is no change
  }
}

const before = state();
let asked = -gap;
let waiting = 0;

function check() {
  if (waiting || document.visibilityState !== "visible") return;
  waiting = setTimeout(async () => {
    asked = performance.now();
    const [then, now] = [await before, await state()];
    waiting = 0;
    if (now && now > (then || 0) + 1.5) location.reload(); // ages are whole seconds
  }, Math.max(0, asked + gap - performance.now()));
}

document.addEventListener("visibilitychange", check);
addEventListener("focus", check);
addEventListener("pageshow", (event) => event.persisted && check());
try {
  new BroadcastChannel("sallyport").addEventListener("message", check);
} catch {
  // not everywhere; coming to the front is enough
}
