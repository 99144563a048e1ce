"""The little that the browser does itself: the address of a run, enlarged pictures, the height of frames.

The address says which run is shown: `?run=NAME`, `?run=` for the shelf. A link to a run changes it without reloading the page, and the
back button brings the former one; both then press a button that is not seen, whose handler reads the address.
"""

from __future__ import annotations

OPENER = "run-open"  # the button
READ_ADDRESS = "(address, ...others) => [new URLSearchParams(location.search).get('run'), ...others]"

INSTALL = """() => {
  if (window.eraseConcept) return;
  const press = () => document.getElementById('run-open')?.click();
  const to = (change) => {
    const url = new URL(location.href);
    change(url.searchParams);
    if (url.href !== location.href) history.pushState(null, '', url);
  };
  let after = '';  // the section that is shown once the run's page is there
  const open = (name, wanted) => {
    after = wanted || '';
    if (after) watcher.observe(document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ['class', 'style']});
    to((query) => {  // a comparison's settings are no part of a run's address
      [...query.keys()].filter((key) => key !== '__theme').forEach((key) => query.delete(key));
      query.set('run', name);
    });
    press();
  };
  const arrived = () => {
    if (!after || !document.querySelector('#run-page [role=tab]')?.offsetParent) return;
    const name = after;
    after = '';
    watcher.disconnect();
    section(name);
  };
  const watcher = new MutationObserver(arrived);
  const leave = () => to((query) => query.delete('run'));
  window.eraseConcept = {open, leave};

  const section = (name) => {
    const named = (place) => [...document.querySelectorAll(place)].find((tab) => tab.textContent.trim() === name);
    const found = named('#run-page [role=tab]') || named('#run-page .overflow-dropdown button');  // where there is no room for all
    found?.click();
    found?.scrollIntoView({block: 'start'});
    found?.focus({preventScroll: true});
  };
  document.addEventListener('click', (event) => {
    const plain = !event.button && !event.metaKey && !event.ctrlKey && !event.shiftKey;
    const link = event.target.closest?.('a[href^="?run="], a[data-section]');
    if (link && plain) {
      event.preventDefault();
      if (link.dataset.section) section(link.dataset.section);
      else { open(new URLSearchParams(link.getAttribute('href')).get('run')); window.scrollTo(0, 0); }
      return;
    }
    const tab = event.target.closest?.('[role=tab]');
    if (tab && tab.closest('.tabs')?.id === 'tabs') {
      if (tab.textContent.trim() !== 'Runs') leave();
      else if (!new URLSearchParams(location.search).has('run')) open('');
    }
    const picture = event.target.closest?.('.gallery button');
    if (picture) enlarge(picture);
  });
  addEventListener('popstate', press);

  const enlarge = (picture) => {
    const all = [...picture.closest('.gallery').querySelectorAll('button')];
    let place = all.indexOf(picture);
    const dialog = document.createElement('dialog');
    dialog.className = 'enlarged';
    dialog.setAttribute('aria-label', 'pictures, enlarged');
    const button = (words, text, act) => {
      const made = document.createElement('button');
      made.type = 'button'; made.textContent = text; made.setAttribute('aria-label', words);
      made.addEventListener('click', act);
      return made;
    };
    const box = document.createElement('div'), caption = document.createElement('p');
    caption.setAttribute('role', 'status');
    const draw = () => {
      box.replaceChildren(...[...all[place].querySelectorAll('img')].map((image) => {
        const figure = document.createElement('figure'), words = document.createElement('figcaption');
        words.textContent = image.alt.split(':')[0];
        figure.append(image.cloneNode(), words);
        return figure;
      }));
      caption.textContent = `${place + 1} of ${all.length}: ${all[place].dataset.words}`;
    };
    const move = (by) => { place = (place + by + all.length) % all.length; draw(); };
    const bar = document.createElement('div');
    bar.className = 'bar';
    bar.append(button('the one before', '←', () => move(-1)), caption, button('the next', '→', () => move(1)),
      button('close', '×', () => dialog.close()));
    dialog.append(box, bar);
    dialog.addEventListener('keydown', (event) => {
      const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (by) { move(by); event.preventDefault(); }
    });
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => { dialog.remove(); all[place].focus(); });
    draw();
    document.body.append(dialog);
    dialog.showModal();
  };

  const fit = (frame) => {
    const page = frame.contentDocument?.documentElement;
    if (!page) return;
    const set = () => {
      const high = page.querySelector('main')?.getBoundingClientRect().height;
      if (high) frame.style.height = `${Math.ceil(high) + 2}px`;
    };
    new ResizeObserver(set).observe(page.querySelector('main') || page);
    const dark = () => { page.className = document.body.classList.contains('dark') ? 'dark' : 'bright'; };
    new MutationObserver(dark).observe(document.body, {attributeFilter: ['class']});
    dark();
    set();
  };
  document.addEventListener('load', (event) => { if (event.target.matches?.('iframe.fitted')) fit(event.target); }, true);
}"""
