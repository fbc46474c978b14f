// Where a sign-in leads that begins in this tab. The address of our sign-in page says it; at the provider, and in what the provider
// answers, it is not known.
const key = "sign-in of this tab";

function storage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null; // switched off: the person starts again by hand
  }
}

const over = "answered "; // before the rest, once the provider's answer was good

// begun remembers the sign-in page, on it, when the person goes to the provider. No page of others can press there for them.
export function begun() {
  storage((s) => s.setItem(key, location.search || "?"));
}

// answered notes that they are back.
export function answered() {
  storage((s) => {
    const kept = s.getItem(key);
    if (kept && kept.startsWith("?")) s.setItem(key, over + kept);
  });
}

// taken is the address of that page, once; "" if there is none. With waiting, only if no answer was good: then the
// person began a sign-in here that is not over for them, and no one can have another one begun in their name.
export function taken({ waiting }) {
  return storage((s) => {
    const kept = s.getItem(key) || "";
    s.removeItem(key);
    const search = waiting ? kept : kept.replace(over, "");
    return search.startsWith("?") && "/.sallyport/sign-in" + search;
  }) || "";
}
