// What stands behind "#" in a tool's address ("#/wallet/77") is never sent to a server. Browsers
// carry it over redirects, so it arrives in the address of our pages, which have to hand it on:
// in their own address, and, while the person is at the provider, in this tab's storage. It is
// kept for the one address that it came with, and goes to no server.
const key = "fragment of " + new URLSearchParams(location.search).get("return_to");

function storage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null; // switched off: the fragment is lost, and nothing else
  }
}

// keep remembers the fragment, or that there is none, until the person is back from the provider.
export function keep() {
  storage((s) => (location.hash ? s.setItem(key, location.hash) : s.removeItem(key)));
}

// onward is where to go next on the same way.
export function onward(next) {
  const fragment = location.hash || storage((s) => s.getItem(key)) || "";
  storage((s) => s.removeItem(key));
  return next.includes("#") ? next : next + fragment;
}
