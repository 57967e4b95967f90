(() => {
  const list = document.querySelector(".clips");
  if (!list) return;
  const clips = [...list.children];
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
    for (const clip of clips) {
      const fits = ["kind", "system", "votes"].every((name) => !wanted[name] || clip.dataset[name] === wanted[name]);
      const named = `${clip.dataset.id} ${clip.dataset.speaker}`.toLowerCase().includes(words);
      clip.hidden = !(fits && named);
      n += !clip.hidden;
    }
    list.append(...clips.slice().sort(order[wanted.sort]));
    shown.textContent = `${n} of ${clips.length} clips shown`;
  };
  tools.addEventListener("input", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
