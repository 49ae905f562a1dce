// The page: everything it shows comes from the same API that anybody may call.
const $ = (id) => document.getElementById(id);
const LENGTH = 10;
const SHOWN = 20; // items of the history
let user = null;

async function ask(path, body, method = body ? "POST" : "GET") {
  const headers = { "Content-Type": "application/json" };
  const key = $("key").value || sessionStorage.getItem("key");
  if (key) headers["X-API-Key"] = key;
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const said = await response.json();
  if (response.status === 401) $("keyfield").hidden = false;
  if (!response.ok) throw new Error(said.detail || response.statusText);
  if (key) sessionStorage.setItem("key", key);
  return said;
}

function complain(error) {
  $("message").hidden = !error;
  $("message").textContent = error ? error.message : "";
}

function detail(metadata) {
  const { title, ...rest } = metadata;
  const words = Object.values(rest).filter((v) => Array.isArray(v) || typeof v !== "object").map(String);
  return words.slice(0, 3).join(" · ").replaceAll(/[|,]/g, ", ");
}

function entry(item, why, rank) {
  const li = $("place").content.firstElementChild.cloneNode(true);
  const title = item.metadata.title || item.item_id;
  li.dataset.item = item.item_id;
  li.querySelector(".title").textContent = title;
  li.querySelector(".detail").textContent = detail(item.metadata);
  li.querySelector(".why").textContent = why || "";
  for (const button of li.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent}: ${title}`);
    button.onclick = () => act(button.dataset.say, item.item_id, title);
  }
  return li;
}

async function act(say, item, title) {
  try {
    complain(null);
    if (say === "similar") await showSimilar(item, title);
    else {
      if (user === null) throw new Error("Choose or invent a user first.");
      await ask("/feedback", { user_id: user, item_id: item, feedback: say });
      await show();
    }
  } catch (error) { complain(error); }
}

async function showSimilar(item, title) {
  const found = await ask(`/similar/${encodeURIComponent(item)}?num_similar=8`);
  $("similar-title").textContent = `Similar to ${title}`;
  $("alike").replaceChildren(...found.similar_items.map((s) => entry(s, `similarity ${s.similarity.toFixed(3)}`)));
  $("similar").hidden = false;
  $("similar").scrollIntoView({ block: "nearest" });
}

async function show() {
  const start = performance.now();
  const found = await ask("/recommend", { user_id: user, num_recommendations: LENGTH, explain: true });
  const took = performance.now() - start;
  const line = (r) => `${r.source}, score ${r.score === null ? "none" : r.score.toPrecision(3)}. ${r.reason}`;
  $("list").replaceChildren(...found.recommendations.map((r) => entry(r, line(r))));
  $("explanation").textContent = found.explanation;
  $("latency").textContent = `Answered in ${took.toFixed(0)} ms by ${found.model_version}.`;
  const past = await ask(`/users/${encodeURIComponent(user)}/history`);
  const latest = [...new Map(past.history.toReversed().map((h) => [h.item_id, h])).values()];
  $("counted").textContent = latest.length ? `${latest.length} items, the latest first` : "Nothing yet. Like something.";
  $("history").replaceChildren(...latest.slice(0, SHOWN).map((h) => {
    const li = document.createElement("li");
    li.textContent = h.metadata.title || h.item_id;
    return li;
  }));
}

async function choose(id) {
  user = id;
  $("user").value = id;
  try { complain(null); await show(); } catch (error) { complain(error); }
}

$("who").onsubmit = (event) => { event.preventDefault(); choose($("user").value.trim()); };
$("invent").onclick = () => choose(`guest-${Math.random().toString(36).slice(2, 8)}`);
$("find").onsubmit = async (event) => {
  event.preventDefault();
  try {
    complain(null);
    const found = await ask(`/items?limit=10&text=${encodeURIComponent($("text").value)}`);
    $("found").replaceChildren(...found.items.map((i) => entry(i)));
  } catch (error) { complain(error); }
};

$("card").ontoggle = async () => {
  if (!$("card").open) return;
  try { $("about").textContent = JSON.stringify(await ask("/model"), null, 2); } catch (error) { complain(error); }
};

try {
  const health = await ask("/health");
  $("model").textContent = `${health.model_version || "no model"} · ${health.status}`;
  const wanted = new URLSearchParams(location.search).get("user");
  if (wanted) await choose(wanted);
} catch (error) { complain(error); }
