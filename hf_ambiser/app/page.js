// Refuses a file of more than `most` bytes before it is sent, with a line of the page's own. Gradio would refuse it, too,
// in words that do not say what to do.
(most, words) => {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const check = (event, files) => {
    const line = document.getElementById("ambiser-too-large");
    const large = [...(files ?? [])].find((file) => file.size > most);
    line.hidden = large === undefined;
    if (large === undefined) return false;
    line.textContent = `${large.name}: the file has ${megabytes(large.size)}, ${words}`;
    event.preventDefault();
    event.stopImmediatePropagation();
    return true;
  };
  // In the capturing phase, which comes before gradio's own listeners.
  document.addEventListener("change", (event) => {
    if (event.target.type !== "file") return;
    if (check(event, event.target.files)) event.target.value = "";  // so that the same file may be chosen again
  }, true);
  document.addEventListener("drop", (event) => check(event, event.dataTransfer?.files), true);
}
