(() => {
  const list = document.querySelector(".utterances");
  if (!list) return;
  const utterances = [...list.children];
  const tools = document.querySelector(".bar-tools");
  const shown = document.querySelector("#shown");
  const order = {
    distance: (a, b) => b.dataset.distance - a.dataset.distance,
    id: (a, b) => a.dataset.id.localeCompare(b.dataset.id),
    speaker: (a, b) => a.dataset.speaker.localeCompare(b.dataset.speaker) || b.dataset.distance - a.dataset.distance,
  };
  const update = () => {
    const wanted = Object.fromEntries(new FormData(tools));
    const words = wanted.find.trim().toLowerCase();
    let n = 0;
    for (const utterance of utterances) {
      const fits = ["kind", "system", "votes"].every((name) => !wanted[name] || utterance.dataset[name] === wanted[name]);
      const named = `${utterance.dataset.id} ${utterance.dataset.speaker}`.toLowerCase().includes(words);
      utterance.hidden = !(fits && named);
      n += !utterance.hidden;
    }
    list.append(...utterances.slice().sort(order[wanted.sort]));
    shown.textContent = `${n} of ${utterances.length} utterances shown`;
  };
  tools.addEventListener("input", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
